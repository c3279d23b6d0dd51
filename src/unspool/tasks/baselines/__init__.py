"""The simple methods that every model is compared with."""
