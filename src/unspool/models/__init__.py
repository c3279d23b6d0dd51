"""Encoders, decoders and what joins them."""
