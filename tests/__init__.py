"""The tests are one package: a dependency ships another that is called the same, which would win over a mere folder."""
