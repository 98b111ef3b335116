"""`python -m tasks` starts the same program as `nightstill`, where the package is not installed."""

from tasks.cli.main import main

if __name__ == "__main__":
    main()
