"""The walkthrough: one sample from its passage to its three scores, as the notebook leads through it, corrected."""
