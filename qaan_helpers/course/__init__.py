"""What only this notebook series needs: the opening of each notebook, and the checks of its exercises."""
