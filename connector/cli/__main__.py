"""`python -m connector.cli.main`."""

from connector.cli.main import main

main()
