"""The steps of ``featherweight distill``: a student alone and with its teacher, and the grid."""
