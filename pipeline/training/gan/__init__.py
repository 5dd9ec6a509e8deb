"""GFPGAN's training as published: degraded faces, a generative prior, discriminators for faces, eyes and mouths.

Paper: Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, 2021 (arXiv 2101.04061).
Everything random in a step is a function of (seed, step, place in the whole batch), never of what was drawn before or
of how many processes share the batch: a run that was killed goes on bit for bit, and as many processes as the batch
divides by give the same run.
"""
