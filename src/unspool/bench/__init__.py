"""Speed and memory beside the peers, measured on this machine: what `unspool bench` runs."""
