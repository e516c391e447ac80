"""Rows in the form of the Retail Prices API, with invented figures."""

from __future__ import annotations

from datetime import UTC, datetime

NOW = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
LINUX, WINDOWS = "Virtual Machines Dsv5 Series", "Virtual Machines Dsv5 Series Windows"


def row(
    price: float, product: str = LINUX, name: str = "D2s v5", **fields: object
) -> dict[str, object]:
    """A row for Standard_D2s_v5 in westeurope."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": "westeurope",
        "effectiveStartDate": "2023-01-01T00:00:00Z",
        "meterName": name,
        "productName": product,
        "skuName": name,
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "Standard_D2s_v5",
        **fields,
    }


ROWS = (
    row(0.11),
    row(0.05, name="D2s v5 Spot"),
    row(0.02, name="D2s v5 Low Priority"),
    row(0.21, WINDOWS),
    row(0.15, WINDOWS, "D2s v5 Spot"),
    row(0.03, WINDOWS, "D2s v5 Low Priority"),
    row(0.12, WINDOWS, type="DevTestConsumption"),
    row(0.19, "Dsv5 Series Cloud Services"),
    row(0.18, "Virtual Machines Dsv5 Series Cloud Services"),
    row(0.17, "Virtual Machines Dsv5 Dedicated Host"),
    row(560, type="Reservation", reservationTerm="1 Year"),
    row(0.09, effectiveStartDate="2021-01-01T00:00:00Z"),
    row(0.14, effectiveStartDate="2027-01-01T00:00:00Z"),
    row(0.0, effectiveStartDate="2025-01-01T00:00:00Z"),
    row(0.31, armRegionName="northeurope"),
    row(0.41, armSkuName="Standard_D4s_v5"),
    row(0.51, currencyCode="EUR"),
    row(0.61, unitOfMeasure="100 Hours"),
    row(0.71, isPrimaryMeterRegion=False),
    row(0.81, tierMinimumUnits=100.0),
    row(0.91, serviceName="Storage"),
)
"""Every kind of row that a filter must tell apart."""
