"""The loop, what it truncates and optimises, and the record it leaves behind."""
