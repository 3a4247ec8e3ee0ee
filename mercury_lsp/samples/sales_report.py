"""Summarise a CSV file of sales by region and month: python sales_report.py sales.csv [--output report.md]."""

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

COLUMNS = ("date", "region", "product", "quantity", "price")


class ReportError(Exception):
    """The input cannot be summarised; the message says why."""


@dataclass(frozen=True)
class Sale:
    day: date
    region: str
    product: str
    quantity: int
    price: Decimal

    @property
    def total(self) -> Decimal:
        return self.quantity * self.price

    @property
    def month(self) -> str:
        return f"{self.day.year}-{self.day.month:02d}"


@dataclass
class Summary:
    count: int = 0
    quantity: int = 0
    total: Decimal = Decimal(0)
    products: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, sale: Sale) -> None:
        self.count += 1
        self.quantity += sale.quantity
        self.total += sale.total
        self.products[sale.product] += sale.total

    @property
    def average(self) -> Decimal:
        if self.count == 0:
            return Decimal(0)
        return self.total / self.count

    @property
    def best_product(self) -> str:
        if not self.products:
            return "-"
        return max(self.products, key=lambda name: self.products[name])


def parse_row(row: dict[str, str], line: int) -> Sale:
    try:
        return Sale(
            day=date.fromisoformat(row["date"].strip()),
            region=row["region"].strip(),
            product=row["product"].strip(),
            quantity=int(row["quantity"]),
            price=Decimal(row["price"]),
        )
    except (ValueError, InvalidOperation) as error:
        raise ReportError(f"line {line}: {error}") from error


def read_sales(path: Path) -> list[Sale]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise ReportError(f"missing columns: {', '.join(missing)}")
        return [parse_row(row, reader.line_num) for row in reader]


def summarise(sales: list[Sale], key: str) -> dict[str, Summary]:
    summaries: dict[str, Summary] = defaultdict(Summary)
    for sale in sales:
        summaries[getattr(sale, key)].add(sale)
    return dict(sorted(summaries.items()))


def render_table(title: str, summaries: dict[str, Summary]) -> list[str]:
    lines = [
        f"## {title}",
        "",
        "| Name | Sales | Items | Total | Average | Best product |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, summary in summaries.items():
        cells = [
            name,
            str(summary.count),
            str(summary.quantity),
            f"{summary.total:.2f}",
            f"{summary.average:.2f}",
            summary.best_product,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    return lines


def render_report(sales: list[Sale]) -> str:
    total = sum((sale.total for sale in sales), Decimal(0))
    lines = ["# Sales report", "", f"{len(sales)} sales, {total:.2f} in total.", ""]
    lines += render_table("By region", summarise(sales, "region"))
    lines += render_table("By month", summarise(sales, "month"))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path, help="a CSV file with the columns " + ", ".join(COLUMNS))
    parser.add_argument("--output", type=Path, help="where to write the report; standard output if left out")
    arguments = parser.parse_args()
    try:
        sales = read_sales(arguments.input)
    except (OSError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report = render_report(sales)
    if arguments.output is None:
        print(report)
    else:
        arguments.output.write_text(report, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
