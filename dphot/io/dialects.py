"""The words cameras use: keywords of each value, and names of the image types."""

from __future__ import annotations

#: Where each value is looked for after the telescope's own keywords, in this order.
DIALECTS: dict[str, tuple[str, ...]] = {
    "telescope": ("TELESCOP",),
    "camera": ("INSTRUME", "CAMERA", "DETECTOR"),
    "type": ("IMAGETYP", "IMAGTYP", "OBSTYPE", "FRAME", "IMGTYPE", "IMAGETYPE", "IMTYPE", "EXPTYPE",
             "DPR TYPE"),
    "exposure": ("EXPTIME", "EXPOSURE", "EXP_TIME", "EXP-TIME", "EXPOSED", "ITIME", "TEXPTIME", "INTTIME"),
    "filter": ("FILTER", "FILTNAME", "FILTER1", "FILTERID", "FILTERS", "FILT", "INSFLNAM", "FILTER2"),
    "object": ("OBJECT", "OBJNAME", "TARGNAME", "TARGET", "OBJCTNAM"),
    "ra": ("RA", "OBJCTRA", "RA_OBJ", "OBJRA", "TELRA", "RA_TARG", "RA_OBS", "RA_CENT", "CAT-RA", "MNTRA"),
    "dec": ("DEC", "OBJCTDEC", "DEC_OBJ", "OBJDEC", "TELDEC", "DEC_TARG", "DEC_OBS", "DEC_CENT", "CAT-DEC",
            "MNTDEC"),
    "read_noise": ("RDNOISE", "READNOIS", "READNOISE", "RON", "ENOISE", "CCDRON", "RDNOISE1",
                   "DET OUT1 RON"),
    "saturation": ("SATURATE", "SATLEVEL", "SATUR"),
    "temperature": ("CCD-TEMP", "CCDATEMP", "DETTEMP", "CCDTEMP", "CCD_TEMP", "CAMTEMP", "DET-TEMP",
                    "TEMPERAT"),
    "airmass": ("AIRMASS", "AMSTART", "SECZ"),
    "xbinning": ("XBINNING", "CCDXBIN", "XBIN", "BINX", "CCDBINX", "CCDBIN1", "HBIN"),
    "ybinning": ("YBINNING", "CCDYBIN", "YBIN", "BINY", "CCDBINY", "CCDBIN2", "VBIN"),
    "trim": ("TRIMSEC",),
    "overscan": ("BIASSEC",),
    "bayer": ("BAYERPAT", "COLORTYP", "CFAPAT"),
    "latitude": ("SITELAT", "LAT-OBS", "LATITUDE", "OBSGEO-B", "OBSLAT", "OBS-LAT", "SITE-LAT", "GEOLAT"),
    "longitude": ("SITELONG", "LONG-OBS", "LONGITUD", "OBSGEO-L", "OBSLON", "OBS-LON", "OBS-LONG",
                  "SITE-LON", "GEOLON"),
    "altitude": ("SITEELEV", "ALT-OBS", "HEIGHT", "OBSGEO-H", "OBSALT", "ALT_OBS", "ELEVATIO", "ALTITUDE"),
    "diameter": ("APTDIA",),
}  # fmt: skip

#: Words of each type; the first type with a word in the value counts ("twilight" holds "light").
TYPE_WORDS: dict[str, tuple[str, ...]] = {
    "bias": ("bias", "zero", "offset"),
    "dark": ("dark",),
    "flat": ("flat", "twilight", "dome"),
    "light": ("light", "object", "science", "expose", "exposure", "target", "standard", "stellar", "sky"),
}
SHORT_TYPES = {
    "l": "light",
    "b": "bias",
    "d": "dark",
    "f": "flat",
    "o": "light",
    "sci": "light",
    "obj": "light",
}
NAME_WORDS = {f"{word}{end}": word for word in ("dark", "flat", "light") for end in ("", "s")}
NAME_WORDS |= {
    "bias": "bias",
    "biases": "bias",
    "zero": "bias",
    "zeros": "bias",
    "skyflat": "flat",
    "domeflat": "flat",
}
