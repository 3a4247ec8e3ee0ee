"""Code completion by a diffusion language model on the user's own machine, for every editor that speaks LSP."""

__version__ = "0.1.0"
