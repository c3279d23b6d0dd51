"""Several runs as one question: models beside each other, and cross-validation."""
