"""`python -m app` is `warmgate`."""

from app.cli import main

main()
