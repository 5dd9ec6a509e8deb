"""How good restored faces are: measures, the subjects they are taken of, and what is written about them.

Everything here is a function of the pictures, the weights and a fixed seed.
"""
