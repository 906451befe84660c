"""`python -m ironstep`."""

from ironstep.cli import main

if __name__ == "__main__":
    main()
