"""What a manifest holds, on one page: counts, copies, labels that clash, tones, pictures."""

from diascope.audit.findings import Audit, Conflict, audit
from diascope.audit.page import PAGE, check_output, write_audit

__all__ = ["PAGE", "Audit", "Conflict", "audit", "check_output", "write_audit"]
