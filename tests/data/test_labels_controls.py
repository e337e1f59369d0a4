"""Names that controls have in screens are recognised, names of genes and compounds are not."""

import pytest

from jaxpert.data.labels_controls import looks_like_control

CONTROLS = (
    # Without a target.
    *("NO-TARGET", "no_target", "notarget", "No Target 3", "non target", "nonTargeting_12", "NT"),
    *("NTC_5", "NTg1", "sg-NT", "NT_gRNA", "NonTargetingControl", "non-targeting_00089"),
    *("NegCtrl", "neg-control", "NegCtrl10_NegCtrl0", "NEG", "negative control", "siNC", "shSCR"),
    *(
        "siScramble",
        "nonsilencing",
        "random_4",
        "TARGETLESS",
        "no_guide",
        "no-sgRNA",
        "62(mod)_pBA581",
    ),
    # Places that do nothing.
    *("intergenic", "INTERGENIC_1", "ONE_INTERGENIC_SITE_5", "ONE_NON-GENE_SITE", "NO_SITE_5"),
    *("AAVS1", "sgAAVS1", "AAVS_g2", "hROSA26", "Rosa26", "CLYBL", "safe harbour", "Safe-Harbor"),
    *("SafeTargeting", "Chr4_safe", "cutting_control", "Non_Cutting", "gene desert", "OR_control"),
    *("olfactory_receptor", "non-essential"),
    # Genes that the cells have not.
    *("luciferase", "sgLuc", "FLuc", "Luc2", "LacZ", "shLacZ", "GFP", "eGFP", "sgGFP", "mCherry"),
    *("tdTomato", "DsRed", "RFP", "BFP", "YFP", "mNeonGreen", "Venus"),
    # Solvents, and cells as they are.
    *("DMSO", "dmso_0.1%", "DMSO@0", "JQ1@0", "JQ1_0uM", "JQ1 0.0nM", "vehicle", "Vehicle_24h"),
    *("PBS_ctrl", "EtOH", "ddH2O", "medium", "media-only", "mock", "Mock_inf", "sham", "IgG"),
    *("isotype_control", "untreated", "not_treated", "No treatment", "unstim", "UNT", "nodrug"),
    *("no_perturbation", "untransduced cells", "wild-type", "WT", "parental", "empty_vector"),
    *("pLKO.1", "ctrl-1", "Control cells", "CTL", "baseline"),
)
OTHERS = (
    *("NT5E", "NTRK1", "SAFB", "CTRB1", "CTRC", "CTR9", "KLF1", "WTAP", "WT1", "MOCOS", "GFPT1"),
    *("GFRA1", "EVI5", "NEGR1", "NCAM1", "NCL", "CTLA4", "LUC7L2", "NEU1", "MED12", "NSD1", "NSG1"),
    *("GNS", "CUTA", "ORC1", "OR1A1", "NONO", "NOTCH1", "NODAL", "NOTUM", "SCRIB", "IGHG1", "HS2"),
    *("VENTX", "BFSP1", "RFPL1", "LACTB", "STIM1", "UNC13A", "BASP1", "TARDBP", "SAFE2X", "CCR5"),
    *("Nocodazole", "Noradrenaline", "Niclosamide", "Ethanolamine", "Buformin", "JQ1", "JQ1@0.5"),
    *("JQ1_10uM", "KLF1_0", "KLF1_ctrl", "IL6_24h"),
)


@pytest.mark.parametrize("name", CONTROLS)
def test_controls(name):
    assert looks_like_control(name)
    # In any case, and whatever stands between the words.
    assert looks_like_control(name.upper()) and looks_like_control(name.replace(" ", "-"))


def test_others():
    assert not [name for name in OTHERS if looks_like_control(name)]


def test_guides_of_the_control_that_is_named():
    assert looks_like_control("OR2W5_g2", ["OR2W5_g1"]) and not looks_like_control("OR2W5_g2")
    # A label without letters is like no other one.
    assert not looks_like_control("12", ["0"])
