"""The paper's tables as the report has them, against each other and against numbers typed from the main text."""

from __future__ import annotations

import numpy as np
import pytest

from hares.report.paper import paper_column, paper_tables
from hares.task import DOMAINS, load_task, task_names

TASKS = [load_task(name) for name in task_names()]
COLUMNS = [(table, column) for table, columns in paper_tables().items() for column in columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{t}-{c['system']}" for t, c in COLUMNS])
def test_the_papers_averages_agree_with_its_rows(table, column):
    """Rows are rounded to 0.05, and so is the printed mean: they may differ by 0.1 at most."""
    assert set(column["tasks"]) == set(task_names())
    values = column["tasks"]
    if table == "table2":  # which prints no tasks; HARES is the mean of the domains, weighted by their tasks
        weights = [sum(task.domain == domain for task in TASKS) for domain in DOMAINS]
        mean = np.average([column["domains"][domain] for domain in DOMAINS], weights=weights)
        assert mean == pytest.approx(column["hares"], abs=0.1001)
        return
    for domain, printed in column["domains"].items():
        if printed is not None:
            mean = np.mean([values[task.name] for task in TASKS if task.domain == domain])
            assert mean == pytest.approx(printed, abs=0.0501)
    if column["hares"] is not None:
        assert np.mean(list(values.values())) == pytest.approx(column["hares"], abs=0.0501)
    else:
        assert None in values.values()


def test_table_4_repeats_the_detailed_tables():
    for system, table in (("SF NFNet-F0", "table9"), ("SF ResNet50", "table9")):
        assert paper_column("table4", system)["tasks"] == paper_column(table, system)["tasks"]
    assert paper_column("table4", "PANNs-CNN14")["tasks"] == paper_column("table6", "CNN14")["tasks"]


# Table 2 of the paper, HARES of classification / SimCLR, typed from the main text and not from the appendix
TABLE_2 = {
    "BYOL-A CNN": (63.1, 68.2),
    "EfficientNet-B0": (53.8, 49.2),
    "CNN14": (62.3, 48.9),
    "ViT-Base": (60.5, 64.5),
    "ResNet50": (61.4, 67.8),
    "NFNet-F0": (65.4, 69.2),
}


def test_tables_6_to_9_agree_with_table_2():
    for system, (classification, simclr) in TABLE_2.items():
        assert paper_column("table6", system)["hares"] == classification
        assert paper_column("table7", system)["hares"] == simclr
    for system, expected in (("SF ResNet50", (63.3, 71.7)), ("SF NFNet-F0", (68.5, 74.6))):
        found = tuple(paper_column(table, system)["hares"] for table in ("table8", "table9"))
        assert found == expected


def test_unknown_columns_are_named():
    with pytest.raises(ValueError, match="table2, table4, table6"):
        paper_column("table5", "SF NFNet-F0")
    with pytest.raises(ValueError, match="there are SF ResNet50"):
        paper_column("table9", "AST")
