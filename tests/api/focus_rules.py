"""
What FOCUS 1.4 says of the columns of its Cost and Usage dataset that we write.

Its one job: the specification's own rules as data, each beside its place in the specification: name, feature level,
type, whether null is allowed, and the values that are.
Source: the table "Columns" of `specification/datasets/cost_and_usage/dataset.md` and each column's "Content
Constraints" in `specification/datasets/cost_and_usage/columns/<name>.md` of
github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, read on 2026-11-24; 1.4 is the newest ratified version
(focus.finops.org/focus-specification: June 4, 2026).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Type = Literal["decimal", "text", "instant", "json"]


@dataclass(frozen=True)
class Rule:
    """What a column may hold."""

    level: Literal["mandatory", "recommended", "conditional"]
    nulls: bool
    type: Type
    allowed: frozenset[str] = frozenset()
    """Empty: anything of the type."""


def _must(kind: Type, *allowed: str, nulls: bool = False) -> Rule:
    return Rule("mandatory", nulls, kind, frozenset(allowed))


RULES: Mapping[str, Rule] = {
    "BilledCost": _must("decimal"),  # billedcost.md
    "BillingAccountId": _must("text"),  # billingaccountid.md
    "BillingAccountName": _must("text", nulls=True),  # billingaccountname.md
    "BillingCurrency": _must("text", "USD"),  # billingcurrency.md: an ISO 4217 code; ours are USD
    "BillingPeriodEnd": _must("instant"),  # billingperiodend.md
    "BillingPeriodStart": _must("instant"),  # billingperiodstart.md
    "ChargeCategory": _must("text", "Usage", "Purchase", "Tax", "Credit", "Adjustment"),  # chargecategory.md
    "ChargeClass": _must("text", "Correction", nulls=True),  # chargeclass.md
    "ChargeDescription": _must("text", nulls=True),  # chargedescription.md
    "ChargeFrequency": Rule(  # chargefrequency.md
        "recommended", nulls=False, type="text", allowed=frozenset({"One-Time", "Recurring", "Usage-Based"})
    ),
    "ChargePeriodEnd": _must("instant"),  # chargeperiodend.md
    "ChargePeriodStart": _must("instant"),  # chargeperiodstart.md
    "ConsumedQuantity": Rule("conditional", nulls=True, type="decimal"),  # consumedquantity.md
    "ConsumedUnit": Rule("conditional", nulls=True, type="text"),  # consumedunit.md
    "ContractedCost": _must("decimal"),  # contractedcost.md
    "EffectiveCost": _must("decimal"),  # effectivecost.md
    "HostProviderName": _must("text"),  # hostprovidername.md
    "InvoiceIssuerName": _must("text"),  # invoiceissuername.md
    "ListCost": _must("decimal"),  # listcost.md
    "PricingQuantity": _must("decimal", nulls=True),  # pricingquantity.md
    "PricingUnit": _must("text", nulls=True),  # pricingunit.md
    "ServiceCategory": _must(  # servicecategory.md
        "text",
        "AI and Machine Learning",
        "Analytics",
        "Business Applications",
        "Compute",
        "Databases",
        "Developer Tools",
        "Identity",
        "Integration",
        "Internet of Things",
        "Management and Governance",
        "Media",
        "Migration",
        "Mobile",
        "Multicloud",
        "Networking",
        "Other",
        "Security",
        "Storage",
        "Web",
    ),
    "ServiceName": _must("text"),  # servicename.md
    "ServiceProviderName": _must("text"),  # serviceprovidername.md
    "ServiceSubcategory": Rule(  # servicesubcategory.md: those whose parent is AI and Machine Learning
        "recommended",
        nulls=False,
        type="text",
        allowed=frozenset(
            {
                "AI Platforms",
                "Bots",
                "Generative AI",
                "Machine Learning",
                "Natural Language Processing",
                "Other (AI and Machine Learning)",
            }
        ),
    ),
    "SkuId": Rule("conditional", nulls=True, type="text"),  # skuid.md
    "SkuMeter": Rule("conditional", nulls=True, type="text"),  # skumeter.md
    "SkuPriceDetails": Rule("conditional", nulls=True, type="json"),  # skupricedetails.md
    "SkuPriceId": Rule("conditional", nulls=True, type="text"),  # skupriceid.md
    "Tags": Rule("conditional", nulls=True, type="json"),  # tags.md
}

DECIMAL = re.compile(r"-?\d+(\.\d+)?")
"""attributes/numeric_format.md: no exponent, no thousands, no sign of what is positive."""
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
"""attributes/datetime_format.md."""
NAME_LENGTH_MAX = 50
"""attributes/column_naming_and_ordering.md: so long is an id at most; custom columns begin with x_ and come last."""
