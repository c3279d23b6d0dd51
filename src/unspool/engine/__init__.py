"""Equations in, fast code out. The engine knows no cell by name."""
