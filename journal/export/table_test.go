package export

import "testing"

// TestPlainCell writes values that somebody sent to be carried out by the spreadsheet of whoever opens a table.
func TestPlainCell(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"plain", "Offerta 12-3; a=b, c@d.test", "Offerta 12-3; a=b, c@d.test"},
		{"a formula", "=1+1", "'=1+1"},
		{"signs", "+39 06", "'+39 06"},
		{"after blanks", "  @SUM(1)", "  '@SUM(1)"},
		{"after a tabulator", "\t=1", "\t'=1"},
		{"after a line", "x\r\n=1\n-1", "x\r\n'=1\n'-1"},
		{"where semicolons part the cells", "x;=cmd|'/C calc'!A0;y; +1", "x;'=cmd|'/C calc'!A0;y; '+1"},
		{"two at once", ";=;=", ";'=;'="},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := PlainCell(c.in); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
