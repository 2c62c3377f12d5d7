package bundle

import (
	"fmt"
	"strings"
)

// verifyText returns VERIFY.txt: commands for a shell in the folder of the unpacked bundle, indented by four blanks.
func (w *writer) verifyText() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("HOW TO CHECK THIS BUNDLE - COME VERIFICARE QUESTO PACCHETTO")
	line("")
	line("Unpack the ZIP into an empty folder and run the commands there, in a POSIX shell.")
	line("Estrarre lo ZIP in una cartella vuota ed eseguire i comandi da lì, in una shell POSIX.")
	line("")
	line("1. No file was changed since the bundle was made. Nessun file è cambiato da quando il pacchetto è stato fatto:")
	line("")
	line("    sha256sum -c %s", sumsName)
	line("")
	line("2. The providers' signatures (OpenSSL 3). Each command must say \"CMS Verification successful\".")
	line("   Le firme dei gestori (OpenSSL 3). Ogni comando deve rispondere \"CMS Verification successful\".")
	line("   The certificates must have been valid at the time of -attime, in seconds since 1970, since they end after a few years.")
	line("   I certificati dovevano valere all'ora indicata da -attime, in secondi dal 1970, perché scadono dopo pochi anni.")
	line("   What is trusted is in %s: compare its SHA-256 in %s with that which AgID publishes.", anchorName, reportName)
	line("   Ci si fida di %s: confrontarne lo SHA-256 in %s con quello pubblicato da AgID.", anchorName, reportName)
	line("")
	any := false
	for _, s := range w.shown {
		if s.Report.OpenSSL != "" {
			any = true
			line("    %s", s.Report.OpenSSL)
		}
	}
	if any {
		line("")
	}
	for _, s := range w.shown {
		if s.Report.OpenSSL == "" {
			line("   No command for %s/%s: %s", s.Folder, messageName, printableText(s.Report.NoOpenSSL))
		}
	}
	line("")
	w.proofText(line)
	line("")
	line("4. All of it at once, with this program, without a configuration or a network: digests, parts, signatures, receipts.")
	line("   Tutto insieme, con questo programma, senza configurazione né rete: impronte, parti, firme, ricevute.")
	line("")
	line("    copialettere verify-bundle .")
	line("")
	line("scheda.html is for people, and proves nothing. An archive is not legal preservation (conservazione a norma).")
	line("scheda.html è per chi legge, e non prova nulla. Un archivio non è conservazione a norma.")
	return b.String()
}

// printableText returns a text that others may have written, in one line without control characters.
func printableText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
