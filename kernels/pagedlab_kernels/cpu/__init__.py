"""Attention for CPUs: a small C kernel that reads pages where they lie, and a fallback where there is no compiler."""
