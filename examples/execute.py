"""Execute a notebook kept as a Python script.

Run: python examples/execute.py examples/quickstart.py examples/quickstart.ipynb
"""

import sys

import jupytext
import nbformat
from nbclient import NotebookClient


def execute(source: str, target: str) -> None:
    notebook = jupytext.read(source)
    # Printed lines come in one piece or in several, as the clock will have it.
    NotebookClient(notebook, timeout=7200, kernel_name="python3", coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran: the only thing that would differ between two runs
        if cell.cell_type == "code":  # warnings are of the machine it ran on
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(notebook, target)


if __name__ == "__main__":
    execute(*sys.argv[1:])
