"""What people call: compiled graphs, clients, handles."""
