"""Dynamic factor models."""
