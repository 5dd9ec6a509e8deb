"""What runs networks: torch as it is, torch's CUDA graphs, OpenVINO. One small port, chosen by measuring."""
