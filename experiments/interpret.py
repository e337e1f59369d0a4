"""Latent factors of a finished run of CRADLE-VAE or its baselines: the same as `jaxpert interpret`.

python experiments/interpret.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("interpret")
