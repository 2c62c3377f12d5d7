package pec_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// oldOffice is an office whose authority signs with SHA-1.
func oldOffice() *pectest.Office {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	o.Authority.SHA1 = true
	for _, p := range o.Providers() {
		p.Identity = o.Authority.Issue(p.Address(), p.Name, p.Identity.Key, nil)
	}
	return o
}

// brokenSignature returns a certificate whose own signature is damaged.
func brokenSignature(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	raw := bytes.Clone(c.Raw)
	raw[len(raw)-1] ^= 1
	broken, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return broken
}

// TestSHA1Chains: a chain that the standard library refuses only for SHA-1 is weak if the operator allows it. Nothing else changes.
func TestSHA1Chains(t *testing.T) {
	o := oldOffice()
	address, key := o.Sender.Address(), o.Sender.Identity.Key
	c := o.Send(letter(), "")
	signedBy := func(id *pectest.Identity) []byte {
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: id}})
	}
	issued := func(edit func(*x509.Certificate)) []byte {
		return signedBy(o.Authority.Issue(address, "ALPHA", key, edit))
	}
	// below returns a message signed below an intermediate authority that comes with it.
	below := func(edit, editSigner func(*x509.Certificate)) []byte {
		sub := o.Authority.Subordinate("Autorità intermedia", edit)
		id := sub.Issue(address, "ALPHA", key, editSigner)
		id.Extra = []*x509.Certificate{sub.Certificate}
		return signedBy(id)
	}
	broken := *o.Sender.Identity
	broken.Certificate = brokenSignature(t, broken.Certificate)
	unmixed := o.Authority.Subordinate("Autorità intermedia", nil)
	unmixed.SHA1 = false
	mixed := unmixed.Issue(address, "ALPHA", key, nil)
	mixed.Extra = []*x509.Certificate{unmixed.Certificate}
	modern := pectest.NewAuthority()
	forAlpha := func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"alpha.test"}
	}
	tests := []struct {
		name    string
		message []byte
		result  pec.Result
		reason  string
	}{
		{"issued by the bundle", c.Envelope, pec.ResultWeak, "SHA-1"},
		{"authority between", below(nil, nil), pec.ResultWeak, "SHA-1"},
		{"authority with SHA-1, signer with SHA-256", signedBy(mixed), pec.ResultWeak, "SHA-1"},
		{"permitted domain", below(forAlpha, nil), pec.ResultWeak, "SHA-1"},
		{"a chain without SHA-1", signedBy(modern.Issue(address, "ALPHA", key, nil)), pec.ResultVerified, ""},
		{"broken signature of the certificate", signedBy(&broken), pec.ResultUntrusted, "does not bear the signature"},
		{"tampered text", pectest.Tampered(c.Envelope), pec.ResultInvalid, "changed after it was signed"},
		{"tampered signature", pectest.TamperedSignature(c.Envelope), pec.ResultInvalid, "does not match"},
		{"unknown authority", signedBy(pectest.NewRogue().Issue(address, "ALPHA", key, func(c *x509.Certificate) {
			c.SignatureAlgorithm = x509.SHA1WithRSA
		})), pec.ResultUntrusted, "the issuer's certificate is missing"},
		{"expired", issued(func(c *x509.Certificate) { c.NotAfter = pectest.Start.Add(-time.Second) }), pec.ResultUntrusted, "expired on"},
		{"not valid yet", issued(func(c *x509.Certificate) { c.NotBefore = pectest.Start.Add(time.Second) }), pec.ResultUntrusted, "valid only from"},
		{"not for e-mail", issued(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			pec.ResultUntrusted, "not for e-mail"},
		{"critical extension", issued(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), pec.ResultUntrusted, "critical extension"},
		{"another address", issued(func(c *x509.Certificate) { c.EmailAddresses = []string{"x@alpha.test"} }), pec.ResultUntrusted, "is not for"},
		{"authority between, expired", below(func(c *x509.Certificate) { c.NotAfter = pectest.Start.Add(-time.Second) }, nil),
			pec.ResultUntrusted, "expired on"},
		{"authority between that is none", below(func(c *x509.Certificate) { c.IsCA = false }, nil), pec.ResultUntrusted, "is not an authority"},
		{"authority between for other keys", below(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, nil),
			pec.ResultUntrusted, "may not sign certificates"},
		{"authority between for servers", below(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil),
			pec.ResultUntrusted, "may not issue for e-mail"},
		{"other domain permitted", below(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"beta.test", ".alpha.test"}
		}, nil), pec.ResultUntrusted, "may not issue for"},
		{"domain excluded", below(func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"ALPHA.test"} }, nil), pec.ResultUntrusted,
			"may not issue for"},
		{"other domain in the subject", below(forAlpha, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "x@beta.test"}}
		}), pec.ResultUntrusted, "may not issue for"},
		{"names of another kind", below(forAlpha, func(c *x509.Certificate) { c.DNSNames = []string{"alpha.test"} }), pec.ResultUntrusted,
			"names other than"},
	}
	bundle := verifierBundle(o)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := verify(t, pec.NewVerifier(append(bundle, modern.Certificate), nil, pec.WithSHA1Chains()), test.message)
			if s.Result != test.result || !strings.Contains(s.Reason, test.reason) || (test.reason == "") != (s.Reason == "") {
				t.Fatalf("%s: %q", s.Result, s.Reason)
			}
			m, _ := read(t, test.message)
			if class := m.Verified(s); (class == pec.PostaCertificata) != (test.result == pec.ResultWeak || test.result == pec.ResultVerified) {
				t.Errorf("%s proves the class %s", s.Result, class)
			}
			if s.Result == pec.ResultWeak {
				if chain, err := s.Certificates(); err != nil || !s.Weak || !chain[len(chain)-1].Equal(o.Authority.Certificate) {
					t.Errorf("weak %v, %d certificates, %v", s.Weak, len(chain), err)
				}
				// Without the option, it stays untrusted.
				if s := verify(t, pec.NewVerifier(bundle, nil), test.message); s.Result != pec.ResultUntrusted {
					t.Errorf("without the operator's word: %s", s.Result)
				}
			}
		})
	}
	t.Run("path too long", func(t *testing.T) {
		sub := o.Authority.Subordinate("Uno", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
		low := sub.Subordinate("Due", nil)
		id := low.Issue(address, "ALPHA", key, nil)
		id.Extra = []*x509.Certificate{low.Certificate, sub.Certificate}
		if s := verify(t, pec.NewVerifier(bundle, nil, pec.WithSHA1Chains()), signedBy(id)); s.Result != pec.ResultUntrusted || !strings.Contains(s.Reason, "too long") {
			t.Errorf("%s: %q", s.Result, s.Reason)
		}
	})
	t.Run("many certificates of one name", func(t *testing.T) {
		// Fifteen authorities with one name and key certify each other: the search still ends.
		sub := o.Authority.Subordinate("Uno", nil)
		id := sub.Issue(address, "ALPHA", key, nil)
		for range 15 {
			id.Extra = append(id.Extra, sub.Subordinate("Uno", nil).Certificate)
		}
		if s := verify(t, pec.NewVerifier([]*x509.Certificate{modern.Certificate}, nil, pec.WithSHA1Chains()), signedBy(id)); s.Result != pec.ResultUntrusted {
			t.Errorf("%s: %q", s.Result, s.Reason)
		}
	})
}

// TestSigningTimeCounts: a certificate that expired between signature and arrival counts if the two are not far apart.
func TestSigningTimeCounts(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	signed := pectest.Start
	valid := func(from, until time.Duration, signingTime bool) []byte {
		v := pectest.Variation{Identity: o.Authority.Issue(o.Sender.Address(), "ALPHA", o.Sender.Identity.Key, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = signed.Add(from), signed.Add(until)
		})}
		if !signingTime {
			v.Attributes = func(a [][]byte) [][]byte { return [][]byte{a[0], a[2]} }
		}
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: v})
	}
	const day = 24 * time.Hour
	tests := []struct {
		name    string
		message []byte
		arrival time.Duration // after the signature
		want    pec.Result
	}{
		{"run out on the way", valid(-day, time.Minute, true), time.Hour, pec.ResultVerified},
		{"five days on the way", valid(-day, time.Minute, true), 5 * day, pec.ResultVerified},
		{"longer on the way", valid(-day, time.Minute, true), 5*day + time.Second, pec.ResultUntrusted},
		{"longer on the way, still valid", valid(-day, 6*day, true), 5*day + time.Second, pec.ResultVerified},
		{"no signing time", valid(-day, time.Minute, false), time.Hour, pec.ResultUntrusted},
		{"run out before it was signed", valid(-day, -time.Second, true), time.Hour, pec.ResultUntrusted},
		{"not valid when it was signed", valid(time.Minute, day, true), time.Hour, pec.ResultUntrusted},
		{"clock of the provider ahead", valid(-time.Minute, day, true), -10 * time.Minute, pec.ResultVerified},
		{"signed in the future", valid(-time.Minute, day, true), -10*time.Minute - time.Second, pec.ResultUntrusted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, table := read(t, test.message)
			s, err := verifierFor(o).Verify(context.Background(), bytes.NewReader(test.message), table, m.Declared.From, signed.Add(test.arrival))
			if err != nil || s.Result != test.want {
				t.Errorf("%s: %s, %v", s.Result, s.Reason, err)
			}
		})
	}
}

// TestIncomplete: without the signer's certificate a signature cannot be checked, but a changed message is still found.
func TestIncomplete(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	bare := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Bare: true}})
	other := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Bare: true,
		Identity: &pectest.Identity{Certificate: o.Sender.Identity.Certificate, Key: o.Sender.Identity.Key,
			Extra: []*x509.Certificate{o.Authority.Certificate}}}})
	for name, test := range map[string]struct {
		message []byte
		want    pec.Result
	}{
		"no certificate":            {bare, pec.ResultIncomplete},
		"only that of an authority": {other, pec.ResultIncomplete},
		"changed":                   {pectest.Tampered(bare), pec.ResultInvalid},
	} {
		s := verify(t, verifierFor(o), test.message)
		if s.Result != test.want || s.Reason == "" {
			t.Errorf("%s: %s: %s", name, s.Result, s.Reason)
		}
		if m, _ := read(t, test.message); m.Verified(s) != pec.Ordinary {
			t.Errorf("%s proves a class", name)
		}
	}
}

func TestSubjectText(t *testing.T) {
	attribute := func(oid asn1.ObjectIdentifier, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: value}
	}
	id := pectest.NewAuthority().Issue("x@alpha.test", "", pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[0]).Sender.Identity.Key,
		func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
				attribute(asn1.ObjectIdentifier{2, 5, 4, 6}, "IT"), attribute(asn1.ObjectIdentifier{2, 5, 4, 10}, `Alfa, "PEC" S.p.A.`),
				attribute(asn1.ObjectIdentifier{2, 5, 4, 97}, "VATIT-01234567890"), attribute(asn1.ObjectIdentifier{2, 5, 4, 42}, "Niccolò"),
				attribute(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, " # "), attribute(asn1.ObjectIdentifier{2, 5, 4, 3}, "Alfa"),
			}}
		})
	const want = `CN=Alfa,1.3.6.1.4.1.99999.1=\ #\ ,givenName=Niccolò,organizationIdentifier=VATIT-01234567890,O=Alfa\, \"PEC\" S.p.A.,C=IT`
	if got := pec.SubjectText(id.Certificate); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRevocation checks lists of a provider's authority in every state.
func TestRevocation(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	a, signed := o.Authority, pectest.Start
	arrival := signed.Add(time.Hour) // as in verify
	c := o.Send(letter(), "")
	serial := o.Sender.Identity.Certificate.SerialNumber
	before, after := signed.Add(-time.Hour), signed.Add(24*time.Hour)
	entry := func(since time.Time) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: serial, RevocationTime: since}
	}
	invalid := entry(after)
	invalid.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: []byte("\x18\x0f20261102000000Z")}}
	other := x509.RevocationListEntry{SerialNumber: big.NewInt(4711), RevocationTime: before}
	about := func(value string) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte(value)}}
		}
	}
	const uri = "http://ca.test/crl"
	point := fmt.Sprintf("\x30\x18\xa0\x16\xa0\x14\x86\x12%s", uri)
	damaged := bytes.Clone(a.RevocationList(before, after, nil))
	damaged[len(damaged)-1] ^= 1
	sha1 := *a
	sha1.SHA1 = true
	pointed := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: a.Issue(o.Sender.Address(), "ALPHA",
		o.Sender.Identity.Key, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{uri} })}})
	short := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: a.Issue(o.Sender.Address(), "ALPHA",
		o.Sender.Identity.Key, func(c *x509.Certificate) { c.NotAfter = signed.Add(time.Minute) })}})
	tests := []struct {
		name    string
		message []byte
		lists   [][]byte
		want    pec.Revocation
		reason  string
		unused  string
	}{
		{"no list at all", c.Envelope, nil, pec.RevocationUnknown, "no revocation list of CN=Autorità di prova CA1", ""},
		{"empty list", c.Envelope, [][]byte{a.RevocationList(before, after, nil)}, pec.RevocationGood, "", ""},
		{"another one revoked", c.Envelope, [][]byte{a.RevocationList(before, after, nil, other)}, pec.RevocationGood, "", ""},
		{"revoked before", c.Envelope, [][]byte{a.RevocationList(before, after, nil, other, entry(before))}, pec.RevocationRevoked, "was revoked on", ""},
		{"revoked when it was signed", c.Envelope, [][]byte{a.RevocationList(before, after, nil, entry(signed))}, pec.RevocationRevoked,
			"was revoked on", ""},
		{"revoked after it was signed", c.Envelope, [][]byte{a.RevocationList(before, after, nil, entry(signed.Add(time.Second)))},
			pec.RevocationGood, "", ""},
		{"revoked later, invalid before", c.Envelope, [][]byte{a.RevocationList(before, after, nil, invalid)}, pec.RevocationRevoked,
			"was revoked on 2026-11-02", ""},
		{"out of date", c.Envelope, [][]byte{a.RevocationList(before, arrival, nil)}, pec.RevocationUnknown, "expired on", ""},
		{"in force to the end", c.Envelope, [][]byte{a.RevocationList(before, arrival.Add(time.Second), nil)}, pec.RevocationGood, "", ""},
		{"out of date, revoked", c.Envelope, [][]byte{a.RevocationList(before, signed, nil, entry(before))}, pec.RevocationRevoked, "was revoked on", ""},
		{"of the future", c.Envelope, [][]byte{a.RevocationList(arrival.Add(10*time.Minute+time.Second), after, nil)}, pec.RevocationUnknown,
			"in force only from", ""},
		{"an old one and a new one", c.Envelope, [][]byte{a.RevocationList(before, signed, nil), a.RevocationList(before, after, nil)},
			pec.RevocationGood, "", ""},
		{"made after the certificate expired", short, [][]byte{a.RevocationList(signed.Add(2*time.Minute), after, nil)}, pec.RevocationUnknown,
			"after the certificate expired", ""},
		{"another issuer", c.Envelope, [][]byte{pectest.NewRogue().RevocationList(before, after, nil)}, pec.RevocationUnknown,
			"no revocation list of", "is not in the trust bundle"},
		{"damaged", c.Envelope, [][]byte{damaged}, pec.RevocationUnknown, "no revocation list of", "no authority in the trust bundle made"},
		{"signed with SHA-1", c.Envelope, [][]byte{sha1.RevocationList(before, after, nil)}, pec.RevocationUnknown, "no revocation list of",
			"signed with SHA-1"},
		{"only users", c.Envelope, [][]byte{a.RevocationList(before, after, about("\x30\x03\x81\x01\xff"))}, pec.RevocationGood, "", ""},
		{"only authorities", c.Envelope, [][]byte{a.RevocationList(before, after, about("\x30\x03\x82\x01\xff"))}, pec.RevocationUnknown,
			"does not cover this kind", ""},
		{"its point", pointed, [][]byte{a.RevocationList(before, after, about(point))}, pec.RevocationGood, "", ""},
		{"another point", c.Envelope, [][]byte{a.RevocationList(before, after, about(point))}, pec.RevocationUnknown, "does not cover this kind", ""},
		{"another point, revoked", c.Envelope, [][]byte{a.RevocationList(before, after, about(point), entry(before))}, pec.RevocationRevoked,
			"was revoked on", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var lists []*pec.RevocationList
			for _, b := range test.lists {
				l, err := pec.ParseRevocationLists(b)
				if err != nil {
					t.Fatal(err)
				}
				lists = append(lists, l...)
			}
			v := pec.NewVerifier(verifierBundle(o), nil, pec.WithRevocation(lists))
			if got := strings.Join(v.UnusedLists(), "; "); !strings.Contains(got, test.unused) || (got == "") != (test.unused == "") {
				t.Errorf("unused: %q", got)
			}
			s := verify(t, v, test.message)
			result := pec.ResultVerified
			if test.want == pec.RevocationRevoked {
				result = pec.ResultUntrusted
			}
			if s.Result != result || s.Revocation != test.want || !strings.Contains(s.RevocationReason, test.reason) ||
				(test.reason == "") != (s.RevocationReason == "") {
				t.Errorf("%s: %s; %s: %s", s.Result, s.Reason, s.Revocation, s.RevocationReason)
			}
			if s := verify(t, verifierFor(o), test.message); s.Revocation != pec.RevocationUnchecked || s.Result != pec.ResultVerified {
				t.Errorf("without lists: %s, %s", s.Result, s.Revocation)
			}
		})
	}
	t.Run("SHA-1 where the operator says so", func(t *testing.T) {
		lists, err := pec.ParseRevocationLists(sha1.RevocationList(before, after, nil, entry(before)))
		if err != nil {
			t.Fatal(err)
		}
		s := verify(t, pec.NewVerifier(verifierBundle(o), nil, pec.WithRevocation(lists), pec.WithSHA1Chains()), c.Envelope)
		if s.Revocation != pec.RevocationRevoked {
			t.Errorf("%s: %s", s.Revocation, s.RevocationReason)
		}
	})
	t.Run("authority between", func(t *testing.T) {
		sub := a.Subordinate("Autorità intermedia", nil)
		id := sub.Issue(o.Sender.Address(), "ALPHA", o.Sender.Identity.Key, nil)
		id.Extra = []*x509.Certificate{sub.Certificate}
		message := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: id}})
		lists, err := pec.ParseRevocationLists(a.RevocationList(before, after, nil, x509.RevocationListEntry{
			SerialNumber: sub.Certificate.SerialNumber, RevocationTime: before}))
		if err != nil {
			t.Fatal(err)
		}
		if s := verify(t, pec.NewVerifier(verifierBundle(o), nil, pec.WithRevocation(lists)), message); s.Revocation != pec.RevocationRevoked {
			t.Errorf("%s: %s", s.Revocation, s.RevocationReason)
		}
	})
}

func TestParseRevocationLists(t *testing.T) {
	a := pectest.NewAuthority()
	from, until := pectest.Start, pectest.Start.Add(time.Hour)
	crl := a.RevocationList(from, until, nil, x509.RevocationListEntry{SerialNumber: big.NewInt(7), RevocationTime: from})
	armoured := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl})
	for name, b := range map[string][]byte{"DER": crl, "PEM": armoured, "text around": append([]byte("AgID di prova\n"), armoured...)} {
		lists, err := pec.ParseRevocationLists(b)
		if err != nil || len(lists) != 1 || lists[0].Len() != 1 || !lists[0].NextUpdate().Equal(until) || !strings.Contains(lists[0].Issuer(), "CA1") {
			t.Errorf("%s: %d lists, %v", name, len(lists), err)
		}
	}
	if lists, err := pec.ParseRevocationLists(slices.Concat([]byte("\ufeff"), armoured, armoured)); err != nil || len(lists) != 2 {
		t.Errorf("two: %d, %v", len(lists), err)
	}
	padded := func(size int) []byte {
		return append(bytes.Clone(armoured), bytes.Repeat([]byte("\n"), size-len(armoured))...)
	}
	if lists, err := pec.ParseRevocationLists(padded(pec.MaxRevocationLists)); err != nil || len(lists) != 1 {
		t.Errorf("of the greatest length: %d, %v", len(lists), err)
	}
	with := func(oid asn1.ObjectIdentifier, value string) []byte {
		return a.RevocationList(from, until, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: []byte(value)}}
		})
	}
	entry := x509.RevocationListEntry{SerialNumber: big.NewInt(7), RevocationTime: from, ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}
	for name, b := range map[string][]byte{
		"empty": nil, "no list": []byte("x"), "certificate": a.PEM(), "cut": crl[:len(crl)/2], "cut PEM": armoured[:len(armoured)/2],
		"one of two cut": append(bytes.Clone(armoured), armoured[:100]...), "too long": padded(pec.MaxRevocationLists + 1),
		"a change to another list": with(asn1.ObjectIdentifier{2, 5, 29, 27}, "\x02\x01\x01"),
		"of other issuers":         with(asn1.ObjectIdentifier{2, 5, 29, 28}, "\x30\x03\x84\x01\xff"),
		"of some reasons":          with(asn1.ObjectIdentifier{2, 5, 29, 28}, "\x30\x04\x83\x02\x06\x40"),
		"distribution cut":         with(asn1.ObjectIdentifier{2, 5, 29, 28}, "\x30\x09\x83\x02"),
		"entry of another issuer":  a.RevocationList(from, until, nil, entry),
	} {
		if lists, err := pec.ParseRevocationLists(b); err == nil {
			t.Errorf("%s: %d lists", name, len(lists))
		}
	}
}

func FuzzRevocationLists(f *testing.F) {
	a := pectest.NewAuthority()
	crl := a.RevocationList(pectest.Start, pectest.Start.Add(time.Hour), func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte("\x30\x05\xa0\x00\x81\x01\xff")}}
	}, x509.RevocationListEntry{SerialNumber: big.NewInt(7), RevocationTime: pectest.Start})
	f.Add(crl)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl}))
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := pec.ParseRevocationLists(b)
		if err != nil {
			return
		}
		pec.NewVerifier([]*x509.Certificate{a.Certificate}, nil, pec.WithRevocation(lists), pec.WithSHA1Chains())
		for _, l := range lists {
			l.Issuer()
		}
	})
}

// TestSHA1Digest tells the two weaknesses apart: a SHA-1 digest with a chain free of SHA-1 is verified, and weak.
func TestSHA1Digest(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	o.Sender.Digest = crypto.SHA1
	if s := verify(t, pec.NewVerifier(verifierBundle(o), nil, pec.WithSHA1Chains()), o.Send(letter(), "").Envelope); s.Result != pec.ResultVerified || !s.Weak {
		t.Errorf("%s, weak %v", s.Result, s.Weak)
	}
}
