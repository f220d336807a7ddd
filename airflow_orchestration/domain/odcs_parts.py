"""Which parts of the Open Data Contract Standard are honoured, which only describe, and which are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_orchestration.exceptions import Problem, ProblemCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The fields of one kind of node in a contract."""

    honoured: frozenset[str]
    descriptive: frozenset[str]
    """Read by people; nothing that is checked depends on them."""
    refused: Mapping[str, str]
    """Field -> what to do instead."""

    def refusals(self, node: Mapping[str, Any], path: str) -> Iterator[Problem]:
        """Each field of a node that would change what is checked and isn't honoured, or isn't known at all."""
        for name, value in node.items():
            place = f"{path}.{name}" if path else name
            if name in self.refused and value not in _NOTHING:
                yield Problem(
                    code=ProblemCode.UNSUPPORTED, path=place, message=f"isn't supported; {self.refused[name]}"
                )
            elif name not in self.honoured | self.descriptive | self.refused.keys():
                yield Problem(
                    code=ProblemCode.UNKNOWN_FIELD,
                    path=place,
                    message="is no part of the standard; check its spelling",
                )


_NOTHING: tuple[Any, ...] = (None, False, -1, [], {}, "")
"""Values that ask for nothing."""
_EVERYWHERE = frozenset({"id", "tags", "customProperties", "authoritativeDefinitions"})

DOCUMENT = Parts(
    honoured=frozenset({"apiVersion", "schema", "slaProperties", "slaDefaultElement"}),
    descriptive=_EVERYWHERE
    | {
        "context",
        "contractCreatedTs",
        "dataProduct",
        "description",
        "domain",
        "kind",
        "name",
        "price",
        "roles",
    }
    | {"servers", "status", "support", "team", "tenant", "version"},
    refused={},
)
SCHEMA_OBJECT = Parts(
    honoured=frozenset({"name", "description", "logicalType", "properties", "quality"}),
    descriptive=_EVERYWHERE
    | {"businessName", "context", "dataGranularityDescription", "deprecated", "physicalName", "physicalType"}
    | {"synonyms"},
    refused={"relationships": "one feed is checked by itself; compare datasets downstream, and remove it"},
)
SCHEMA_PROPERTY = Parts(
    honoured=frozenset(
        {
            "name",
            "description",
            "enum",
            "logicalType",
            "logicalTypeOptions",
            "primaryKey",
            "primaryKeyPosition",
        }
        | {"quality", "required", "semanticType", "unique"}
    ),
    descriptive=_EVERYWHERE
    | {"businessName", "classification", "criticalDataElement", "deprecated", "examples", "physicalName"}
    | {"physicalType", "synonyms", "transformDescription"},
    refused={
        "encryptedName": "columns are not encrypted here; remove it",
        "items": "a column holds one value; take parts out with a path in the feed's columns",
        "map": "a column holds one value; take parts out with a path in the feed's columns",
        "partitioned": "write partitions into the pipeline file's publish; remove it",
        "partitionKeyPosition": "write partitions into the pipeline file's publish; remove it",
        "properties": "a column holds one value; take parts out with a path in the feed's columns",
        "relationships": "one feed is checked by itself; compare datasets downstream, and remove it",
        "transformLogic": "write it as the expression of a column of the feed; transformDescription may stay",
        "transformSourceObjects": "name the feeds in the pipeline file; transformDescription may stay",
    },
)
QUALITY = Parts(
    honoured=frozenset(
        {
            "arguments",
            "description",
            "dimension",
            "metric",
            "mustBe",
            "mustBeBetween",
            "mustBeGreaterOrEqualTo",
        }
        | {"mustBeGreaterThan", "mustBeLessOrEqualTo", "mustBeLessThan", "mustNotBe", "mustNotBeBetween"}
        | {"name", "query", "rule", "severity", "type", "unit"}
    ),
    descriptive=_EVERYWHERE | {"businessImpact"},
    refused={
        "engine": "rules run in the package's own engine; write type: library or type: sql",
        "implementation": "rules run in the package's own engine; write type: library or type: sql",
        "method": "rules are checked on each feed by itself; remove it",
        "schedule": "rules are checked whenever the feed is read; remove it",
        "scheduler": "rules are checked whenever the feed is read; remove it",
    },
)
SLA_PROPERTY = Parts(
    honoured=frozenset({"customProperties", "element", "property", "unit", "value"}),
    descriptive=frozenset({"id", "authoritativeDefinitions", "description", "driver"}),
    refused={
        "schedule": "freshness is checked whenever the feed is read; remove it",
        "scheduler": "freshness is checked whenever the feed is read; remove it",
        "valueExt": "write one value",
    },
)
ENUM_VALUE = Parts(
    honoured=frozenset({"value"}), descriptive=_EVERYWHERE | {"description", "label"}, refused={}
)

OPTIONS: Mapping[str, str] = {
    "exclusiveMaximum": "exclusive_maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "format": "format",
    "maximum": "maximum",
    "maxLength": "max_length",
    "minimum": "minimum",
    "minLength": "min_length",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
}
"""`logicalTypeOptions` -> the field of `Column`."""
UTC_NAMES = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Z"})
FRESHNESS = frozenset({"freshness", "frequency", "latency", "fy", "ly"})
"""SLA properties that say how old the newest value may be, in small letters."""
AGREEMENTS = frozenset(
    {
        "availability",
        "endoflife",
        "endofsupport",
        "errorrate",
        "generalavailability",
        "responsetime",
        "retention",
    }
    | {
        "severity",
        "support",
        "throughput",
        "timeofavailability",
        "timetodetect",
        "timetonotify",
        "timetorepair",
    }
)
"""SLA properties about a service and its people; nothing of them can be seen in the rows of a feed."""
