"""Reports on a potential: verdict, tables, figures, structures, how to reproduce."""

from gapkit.report.write import write_report

__all__ = ["write_report"]
