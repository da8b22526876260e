"""Who may call: keys, held as digests, and the check of a request's header."""
