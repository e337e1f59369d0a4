"""Tables 2 to 5 of the CRADLE-VAE paper, beside the published numbers: the same as `jaxpert study`.

python experiments/cradle_tables.py --data=simulated --models=cradle_vae,sams_vae
    --results=runs/tables
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("study", "--family=cradle")
