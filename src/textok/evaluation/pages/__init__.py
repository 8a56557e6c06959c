"""What a person looks at: picture grids, curves and the HTML report."""
