package main

import (
	"copialettere/cmd/copialettere/config"
	"copialettere/lmtp"
	"copialettere/policy/archive"
	"copialettere/policy/pec/files"
)

// sourcesOf returns the files that a configuration names.
func sourcesOf(c config.PEC) files.Sources {
	return files.Sources{
		DomainsFile: c.DomainsFile, ProviderIndex: c.ProviderIndex, TrustBundle: c.TrustBundle, CRLFolder: c.CRLFolder, SHA1Chains: c.SHA1Chains,
		LoadDomains: config.LoadDomains,
	}
}

// certification is knownPEC for messages that are put in by hand.
func (d *daemon) certification() archive.Certification {
	known := d.knownPEC()
	return archive.Certification{Trust: known.Trust, Verifier: known.Verifier}
}

// knownPEC returns the settings and files of [pec] that are in force now.
func (d *daemon) knownPEC() lmtp.PEC {
	known := lmtp.PEC{Trust: d.config.Load().PEC.Trust}
	if files := d.pec.Load().InForce(); files != nil {
		known.Verifier, known.Domains = files.Verifier(), files.Certified
	}
	return known
}
