"""seeworth: fine-tune Phi-3-Vision on your own photos, know whether it really learnt, and put it to use."""

__version__ = "0.1.0"
