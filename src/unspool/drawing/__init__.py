"""Pictures of results: drawn once, written as SVG or painted as PNG."""
