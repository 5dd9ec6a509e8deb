"""Image maths: bytes or arrays in, arrays out. Knows no queue, no store, no HTTP, no environment."""
