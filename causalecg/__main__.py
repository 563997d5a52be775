"""``python -m causalecg`` is the command line."""

from causalecg.cli import main

if __name__ == "__main__":
    main()
