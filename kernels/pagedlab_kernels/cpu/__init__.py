"""For CPUs: attention that reads pages where they lie, matrices in panels, whole layers, in C; what runs without a
compiler too says so."""
