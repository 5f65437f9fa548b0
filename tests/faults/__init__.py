"""What breaks in the middle: killed processes, cut connections, altered tables."""
