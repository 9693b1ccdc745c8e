"""`graphstalk chaos`: load, faults drawn from a seed, and the verdict on every thread."""
