"""Lineage as OpenLineage's own classes. Only Airflow's provider for it brings them: import this where it asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
)

from airflow_orchestration.insights.lineage import Assertion, DatasetName

COMPLETENESS = "orchestration_completeness"
"""The name of the facets about what a run has, and what is missing."""
QUARANTINE = "orchestration_quarantine"
"""The name of the facet about rows that were put aside."""
_SEVERITIES = {"error": "error", "warning": "warn", "info": "info"}
"""As OpenLineage calls them."""


@define(kw_only=True, slots=False)
class _Completeness:
    """No slots: a class can have one base with them, and OpenLineage's are such."""

    state: str
    version: int
    rounds: int
    weightShare: float  # noqa: N815  # as OpenLineage writes names
    feedsIn: int  # noqa: N815
    feedsExpected: int  # noqa: N815
    rowsIn: int  # noqa: N815
    rowsPublished: int  # noqa: N815
    rowsSuperseded: int  # noqa: N815
    rowsQuarantined: int  # noqa: N815
    missing: list[dict[str, str]]

    _additional_skip_redact: ClassVar[list[str]] = ["state", "missing"]


@define(kw_only=True)
class CompletenessRunFacet(_Completeness, RunFacet):
    """How complete a run is, by its manifest; rows in = published + superseded + quarantined."""


@define(kw_only=True)
class CompletenessDatasetFacet(_Completeness, DatasetFacet):
    """How complete the run is that wrote a table."""


@define(kw_only=True)
class QuarantineDatasetFacet(DatasetFacet):
    """How many rows of which feed were put aside, by rule."""

    counts: list[dict[str, Any]]

    _additional_skip_redact: ClassVar[list[str]] = ["counts"]


def input_of(
    name: DatasetName, *, rows: int | None = None, assertions: Iterable[Assertion] = ()
) -> InputDataset:
    """What was read, with how many rows, and what came of the rules about them."""
    facets: dict[str, Any] = {}
    if rows is not None:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=rows
        )
    if told := [_assertion(one) for one in assertions]:
        facets["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            assertions=told
        )
    return InputDataset(namespace=name.namespace, name=name.name, inputFacets=facets)


def table_of(
    name: DatasetName,
    columns: Sequence[tuple[str, str, str | None]],
    line: Mapping[str, Any],
    completeness: Mapping[str, Any],
) -> OutputDataset:
    """A target table, with its columns, the rows that the run has in it, and how complete that is."""
    described = [
        schema_dataset.SchemaDatasetFacetFields(name=column, type=kind, description=description)
        for column, kind, description in columns
    ]
    return OutputDataset(
        namespace=name.namespace,
        name=name.name,
        facets={
            "schema": schema_dataset.SchemaDatasetFacet(fields=described),
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=str(line["version"])
            ),
            COMPLETENESS: CompletenessDatasetFacet(**completeness),
        },
        outputFacets={"outputStatistics": _written(line["rows"])},
    )


def quarantine_of(name: DatasetName, counts: list[dict[str, Any]]) -> OutputDataset:
    """The table of rows that were put aside."""
    return OutputDataset(
        namespace=name.namespace,
        name=name.name,
        facets={QUARANTINE: QuarantineDatasetFacet(counts=counts)},
        outputFacets={"outputStatistics": _written(sum(one["rows"] for one in counts))},
    )


def lineage_of(
    inputs: Sequence[InputDataset],
    outputs: Sequence[OutputDataset] = (),
    completeness: Mapping[str, Any] | None = None,
) -> OperatorLineage[Any, Any]:
    """What Airflow's provider is told of a task."""
    run = {} if completeness is None else {COMPLETENESS: CompletenessRunFacet(**completeness)}
    return OperatorLineage(inputs=list(inputs), outputs=list(outputs), run_facets=run)


def _written(rows: int) -> output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet:
    return output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)


def _assertion(one: Assertion) -> data_quality_assertions_dataset.Assertion:
    broken = None if one.rows is None else f"rows that break it: {one.rows}"
    return data_quality_assertions_dataset.Assertion(
        assertion=one.rule,
        success=one.kept,
        column=one.column,
        severity=_SEVERITIES.get(one.severity or ""),
        expected=one.threshold,
        actual=broken,
    )
