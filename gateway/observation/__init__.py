"""What is known of each request: written down along its way, read by observers when it has ended."""
