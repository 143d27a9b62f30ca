"""What people agree to when photos of them are registered.

A wording is never changed, as the audit log names it; another gets another name.
"""

from __future__ import annotations

WORDINGS = {
    "api-1": "The caller stated, by consent=true, that the person shown consents to the use of these photos for giving "
    "their face its details back in calls.",
    "page-1": "These photos show me. I agree that this server stores them to give my face its details back in calls, "
    "until they expire or I delete them.",
    "page-1-de": "Diese Fotos zeigen mich. Ich bin einverstanden, dass dieser Server sie speichert, um meinem "
    "Gesicht in Gesprächen seine Einzelheiten zurückzugeben, bis sie ablaufen oder ich sie lösche.",
    "page-1-es": "Estas fotos me muestran. Acepto que este servidor las guarde para devolver sus detalles a mi "
    "cara en las llamadas, hasta que caduquen o yo las borre.",
}
OF_API = "api-1"  # where the caller names none
