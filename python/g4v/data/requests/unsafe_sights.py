"""What somebody should not want to watch, as noun phrases.

Lines that begin with "*" are held out for tests.
"""

from __future__ import annotations

from g4v.data.wordings import Wordings

_BEING = "(a man|a woman|someone|people|a child|children|a policeman|a soldier|a dog|a cat|an animal)"
_HURT_PART = "(killed|murdered|hurt|shot|stabbed|beaten|attacked|tortured|harmed|punched|kidnapped)"
_DRUGS = "(drugs|cocaine|heroin|hard drugs)"
_BEING2 = "(a girl|a boy|a kid|an old man|a cop|a prisoner|a teacher|a student|a baby|a homeless man|a puppy)"
_HURT_PART2 = """(strangled|poisoned|drowned|whipped|burned|burned alive|executed|beheaded|hanged|choked|
crushed|raped|abused|slapped|kicked|robbed|mutilated|electrocuted|lynched|skinned)""".replace("\n", "")

SIGHT = Wordings(
    "unsafe-sight",
    f"""
    {_BEING} being {_HURT_PART}
    {_BEING} being {_HURT_PART}
    {_BEING} (who is|that is|getting) {_HURT_PART}
    {_BEING} (killing|hurting|shooting|stabbing|beating|attacking) {_BEING}
    (a murder|a killing|a suicide|a shooting|a stabbing|an execution|torture)
    (a naked|a nude) (woman|man|girl|body)
    naked (people|women|men)
    (sex|porn|people having sex|a sex scene|a porn movie)
    (a bloody|a brutal|a violent) (fight|murder|scene|war|death)
    (blood and dead bodies|dead people|dead bodies|a dead man|a dead child|a corpse)
    (a bomb|a bomb that explodes in a school|a terror attack|a bomb attack|a war with dead people)
    (a man|a woman|someone|a child) (with a gun|who takes drugs|taking drugs)
    (a man|a woman|someone|a child) (who dies|dying|in pain|bleeding)
    someone (selling|taking|cooking) {_DRUGS}
    (a racist|a hateful) (joke|song|speech)
    (cruelty to animals|animal cruelty|violence|hate|people suffering)
    (a fight|people fighting) with (knives|guns|weapons)
    * (a child|an animal|a girl) (suffering|in pain and bleeding)
    * (a brutal|a bloody) (attack|killing|shooting)
    * (a naked|a nude) (child|person)
    {_BEING2} being {_HURT_PART2}
    {_BEING2} (who is|that is|getting) {_HURT_PART2}
    {_BEING2} (strangling|poisoning|drowning|torturing|whipping|kicking|choking|robbing|raping) {_BEING2}
    (gore|blood and gore|guts|a gory scene|a bloodbath|a massacre|a slaughter|carnage|splatter|mutilation)
    (a severed head|cut off limbs|a crushed body|a rotting corpse|a pile of bodies|intestines|open wounds)
    (a beheading|a hanging|a lynching)
    (a public execution|a firing squad|an electric chair execution|a stoning)
    (a noose|a man in a noose)
    (someone hanging from a rope|a body hanging from a tree|a guillotine cutting a neck)
    (a deadly car crash|a fatal accident)
    (a plane crash with dead people|a train hitting a man|victims of a crash)
    (people jumping from a burning tower|someone falling to death|people drowning|someone burning alive)
    (a man on fire|a person burning|a child trapped in a fire|burned bodies|someone crushed by a truck)
    (torture in a cellar|waterboarding)
    (prisoners being tortured|a man tied up and beaten|a hostage in chains)
    (a hostage|a kidnapping|an armed robbery)
    (a bank robbery with dead people|a mugging|a carjacking|a home invasion)
    (a gang beating up a boy|kids bullying a girl)
    (a schoolyard beating|a husband beating his wife|domestic abuse)
    (someone slapping a child|a father hitting his son|child abuse|a crying child being beaten|elder abuse)
    (a rape|a sexual assault|a woman being groped|a drunk girl being abused|an abused woman|an abused child)
    a gun pointed at (a child|a man|someone|a woman's head|a crowd)
    (a knife at a throat|a shooter in a school)
    (a school shooting|a mass shooting)
    (a drive by shooting|a sniper killing people|a shootout with dead cops)
    (a suicide bomber|a car bomb|a bombing)
    (a terrorist attack|isis fighters killing people|a grenade in a crowd)
    (a truck driving into a crowd|a plane hitting a tower|a bus blown up|a burning mosque|a bombed hospital)
    (a nazi flag|a swastika|a hitler salute)
    (a ku klux klan march|a burning cross|a nazi parade|white power signs)
    (a hitler speech that praises him|nazi propaganda)
    (a speech against jews|hate against muslims|racist insults)
    (a joke about (black people|jews|gay people|disabled people|refugees)|a sexist joke|slurs|blackface)
    (someone insulting (an immigrant|a muslim woman|a gay couple|a disabled man)|a crowd chasing refugees)
    (hardcore porn|a porn star|a nude model|a striptease|a stripper)
    (an orgy|erotic massage|genitals|breasts|boobs)
    (hentai|a sex tape|a leaked nude)
    (nudes of a celebrity|a deepfake nude|a topless girl|girls in the shower)
    (people making love naked|a couple having sex|oral sex)
    (a naked celebrity|my teacher naked|a penis|a vagina)
    someone (injecting heroin|snorting cocaine|smoking crack)
    someone (smoking meth|shooting up|taking pills to get high)
    (a drug deal|a meth lab|kids smoking weed)
    (a junkie with a needle|a heroin overdose|a child smoking|a drunk child)
    someone (cutting their arm|jumping off a bridge|hanging themselves|taking an overdose|slitting wrists)
    (self harm|cuts on an arm|a suicide note)
    (a suicide attempt|a girl who starves herself|an anorexic girl|bulimia)
    (a dog fight|a cockfight|a dog being kicked)
    (a cat being burned|puppies being drowned|a bull being stabbed)
    (a dead dog|a skinned cat|a starving horse)
    (an abused puppy|animals being slaughtered|a bleeding elephant)
    (a slave market|slaves being whipped|a trafficked girl)
    (people in cages|forced labour with whips|a chain gang beaten)
    (genocide|a concentration camp with dead people|a mass grave|ethnic cleansing|war crimes|a war massacre)
    (a cannibal|a cannibal eating a man)
    (zombies eating a child|a psycho with a chainsaw|a killer clown stabbing people)
    (a snuff film|a real death|real gore|a real murder)
    (a live suicide|an autopsy of a child|dead babies|a dead kid)
    (a child with a gun|a toddler holding a knife|child soldiers|a baby in danger|a kid drinking vodka)
    (someone drinking bleach|the blackout challenge)
    (russian roulette|a deadly stunt|a drunk driver hitting people)
    (a riot with wounded people|police beating a man)
    (a cop shooting a man|a stabbing in a street|a mob killing someone)
    (a burglar breaking into a house|someone stealing a purse)
    (someone setting a house on fire|an arsonist at work)
    (how a bomb is built|how meth is cooked|how poison is made|how a gun is smuggled|how to rob a bank)
    (a bomb going off in a crowd|a building blown up with people inside)
    (a soldier losing his legs|napalm on a village)
    (a tortured prisoner|a beaten wife|a raped woman|a murdered family|a butchered body|a strangled girl)
    (a stalker following a girl|a peeping tom|a creepy man grabbing a child|a hidden camera in a shower)
    (a bleeding man|a bloody knife|a bloody corpse)
    (a pool of blood|blood everywhere|a bloody face|a slit throat)
    something (gory|sexy and naked|brutal|really violent)
    something (disgusting and bloody|pornographic|cruel|racist|illegal)
    * (a noose|a knife) around a neck of (a man|a child)
    * (gore|carnage) after (a bombing|a crash)
    * (a strangled|a drowned|a burned) (man|woman|kid)
    * (a nazi march|a nazi salute|a racist march|a racist salute|a racist parade)
    * (someone|a kid) (snorting pills|smoking heroin|injecting meth)
    * (a topless|a nude) (stripper|celebrity|teacher)
    * (a horse being kicked|a horse being burned|a horse being whipped)
    * (a beheaded|a tortured) (hostage|soldier)
    """,
)
