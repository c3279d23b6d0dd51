"""The layers models are built from; each sees tensors and lengths, never files."""
