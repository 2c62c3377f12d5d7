package policy

import "testing"

func BenchmarkWanted(b *testing.B) {
	p, _ := openTest(b, testConfig(), "anna@alpha.test")
	b.ReportAllocs()
	for b.Loop() {
		if v, err := p.Wanted(b.Context(), "anna+x@alpha.test"); !v.Enabled || err != nil {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	p, _ := openTest(b, testConfig(), "anna@alpha.test")
	lines, mail := one("anna@alpha.test", "rfc822;anna@alpha.test"), header(received)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := p.Judge(b.Context(), mail, lines); err != nil || !v[0].Journal {
			b.Fatal(v, err)
		}
	}
}
