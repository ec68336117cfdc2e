"""Enrolments, switches, schedules, broken rules, and the objects and reports of 3.x VTNs."""

from gateway.storage.migrations.record_tables import record_table

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    record_table("enrolment_record", "authority", "node")
    record_table("program_state_record", "authority")
    record_table("opt_schedule_record", "authority", "event_id", "is_settled bool")
    record_table("non_compliance_record", "authority", "profile", "object_id")
    record_table("held_object_record", "authority", "kind", "program_id")
    record_table("report_duty_record", "authority", "event_id", "is_finished bool")
    record_table("pending_report_record", "authority", "request", "is_open bool", compact=True, expires=True)
